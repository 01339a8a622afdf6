"""One training path: data, augmentation, model, loop. Knows neither Hydra nor MLflow."""
