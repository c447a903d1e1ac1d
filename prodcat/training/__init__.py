"""Training. `loop` trains anything that is a Task and knows no Ray; `distributed` runs it on Ray Train workers; the other files are Tasks."""
