"""Write the tables: `python -m phone.export`."""

from phone.export import write

write()
