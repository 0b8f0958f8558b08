"""Tables of objects: what each one measures, from labels and channels; knows no projects."""
