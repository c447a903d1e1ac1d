"""What a catalog or a day of traffic will cost: plans from measured throughputs, and the cascade's queues simulated. Imports config and errors."""
