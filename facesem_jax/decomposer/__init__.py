"""The semantic decomposer: image -> view, light, depth, albedo (Unsup3D), and its renderer."""
