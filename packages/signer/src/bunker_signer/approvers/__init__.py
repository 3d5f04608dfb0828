"""Who can be asked: each approver in a file of its own, all of one protocol (`Approver`)."""
