"""From a pass to incidents: reads, fuses, scores, folds evidence, judges, publishes ChangeFound."""
