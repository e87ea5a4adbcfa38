"""Templates: one YAML file each (see `luthier.data.template`)."""
