"""Quantisation after training: a float network and data become an integer network.

prepare     the float network, normalisation folded
calibrate   what its values are on the data, and the scales that follow
passages    where a factor for each channel can travel; reform: activations that take one
equalise    channels of unequal range, brought nearer without changing the function
absorb      high biases, given to the layer behind
correct     weights rounded and biases moved, layer by layer, towards the float network
convert     floats and `Encodings` -> integers
simulate    the same integers said in reals, to hold the conversion against
explain     float beside integer, layer by layer; advice: what would help
"""
