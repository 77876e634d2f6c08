"""What a network costs on hardware: energy, latency, SRAM and Flash of a plan under an assignment. Imports no torch."""
