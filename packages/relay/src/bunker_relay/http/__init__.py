"""What speaks HTTP: the server, the app, health, administration, the information document."""
