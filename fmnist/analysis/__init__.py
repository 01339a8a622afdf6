"""What the runs say: pure functions of frames and arrays, without Keras or MLflow."""
