"""Search: a recipe and a space → an Optuna study whose trials are run folders → the recipes that are worth having."""
