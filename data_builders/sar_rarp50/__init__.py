"""SAR-RARP50: suturing in 50 robot-assisted prostatectomies with eight actions."""
