"""LapGyn events: clips of gynaecologic laparoscopy with one of four events."""
