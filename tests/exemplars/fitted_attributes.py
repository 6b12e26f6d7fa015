"""What an `MMDCritic` has after `fit`."""

FITTED = (
    "prototype_indices_",
    "criticism_indices_",
    "gamma_",
    "column_means_",
    "kernel_mean_",
    "mmd2_",
    "witness_",
    "criticism_terms_",
    "regularizer_weight_",
    "prototype_weights_",
    "weighted_mmd2_",
    "off_diagonal_ratio_",
    "n_features_in_",
)
