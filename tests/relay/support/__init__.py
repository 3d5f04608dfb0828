"""What the tests of several rooms of the relay share."""
