"""Any segmenter on any image.

Below the models, so that training validates with the code that users run.
"""
