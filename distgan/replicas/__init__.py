"""All communication, and who started us; `connect.connect` joins the other processes of a run."""
