"""INT8 quantization for NPUs: what the notebooks and the tests of this course share."""
