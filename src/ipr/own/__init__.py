"""A network, images and a training loop of one's own: `ipr.embed` and `ipr.PassportCallback`."""
