"""Images and who they belong to: editions, decoding, manifest and groups, phantom slices, challenge maker."""
