"""Files of published datasets: download, unpack, verify."""
