"""What operators need: a namespace prepared, an installation looked at, workers measured."""
