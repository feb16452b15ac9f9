"""All Optuna: suggestions from an in-memory study, and the projection of our rows into Optuna's own tables."""

import optuna

# Creating a study is a line of INFO each, and suggestions create one every time.
optuna.logging.set_verbosity(optuna.logging.WARNING)
# The service's log is the only one; Optuna would write to standard error beside it.
optuna.logging.disable_default_handler()
optuna.logging.enable_propagation()
