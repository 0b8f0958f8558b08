"""Any segmenter over any image: below the models, so that training validates with the code that users run."""
