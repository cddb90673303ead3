"""What a latent means: Jacobians, directions, factorisation, edits."""
