"""Evaluation: predictions and labels in, figures and a report out. Reads tables; knows no encoder, no model and no Ray.

metrics.py       hierarchical precision, recall, F1 with interval, figures per level (node indices)
answers.py       predictions and labels joined by key into arrays
compose.py       evaluate(): tables -> the content of metrics.json
mistakes.py      confusions among siblings, the worst errors
probes.py        hide part of a product
scoring.py       which probes, which baseline, which leaves are large enough
baseline.py      TF-IDF and a linear SVM on the title
out_of_fold.py   what a light classifier says of products that it has not learned from
label_issues.py  labels that are likely wrong, by level of the tree
feeds/           how good the feeds of each platform are
figures.py       SVG plots
report.py        metrics.json and report.html (report.html is its template)
"""
