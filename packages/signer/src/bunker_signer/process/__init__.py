"""The process: its logs, metrics, data folder and place under systemd."""
