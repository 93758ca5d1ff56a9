"""Communication between processes, and their launcher; `connect.connect` joins the other processes of a run."""
