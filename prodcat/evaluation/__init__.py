"""Evaluation: predictions and labels in, figures and a report out. Reads tables; knows no encoder, no model and no Ray.

metrics.py     hierarchical precision, recall, F1 with interval, figures per level (node indices)
answers.py     predictions and labels joined by key into arrays
compose.py     evaluate(): tables -> the content of metrics.json
mistakes.py    confusions among siblings, the worst errors
probes.py      hide part of a product
baseline.py    TF-IDF and a linear SVM on the title
figures.py     SVG plots
report.py      metrics.json and report.html (report.html is its template)
"""
