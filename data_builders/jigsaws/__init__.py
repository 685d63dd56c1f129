"""JIGSAWS: three bench-top tasks on a da Vinci robot, with gestures and skill."""
