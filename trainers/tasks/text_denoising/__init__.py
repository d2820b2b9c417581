"""Task `text_denoising`."""
