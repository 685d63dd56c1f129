"""LapGyn4: pictures of gynaecologic laparoscopy in folders of classes."""
