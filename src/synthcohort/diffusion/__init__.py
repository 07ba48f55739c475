"""The mathematics of diffusion as functions over one interface: `denoiser(x, sigma, condition) -> denoised`.

Words: *sigma* is the standard deviation of the noise in an image whose pixels lie in [-1, 1]; a *denoiser* gives the
expected clean image; a *schedule* is a decreasing tensor of sigmas that ends in 0; a *condition* is opaque here.
"""
