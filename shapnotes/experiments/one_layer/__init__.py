"""X-N1: a perceptron with one hidden layer, explained to a wanted accuracy and by everything that is faster."""
