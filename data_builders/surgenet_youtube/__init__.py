"""SurgeNet-YouTube: pictures of surgery on YouTube."""
