"""Human action recognition from skeletons, depth, wearable sensors and video."""
