"""The search of the site: what there is to find in an edition, and what finds it."""
