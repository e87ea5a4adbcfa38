"""Templates: one YAML file each (see `luthier.data.templating.template`)."""
