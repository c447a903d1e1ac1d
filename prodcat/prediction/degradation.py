"""Why stage two may not answer, as codes that answers carry and as words. Imports nothing: a client of the served API reads it too."""

DEGRADED = {
    "stage_two_unavailable": "stage two is not running or not to be reached",
    "stage_two_busy": "stage two has as much work waiting as it may have",
    "stage_two_slow": "stage two did not answer in time",
    "stage_two_out_of_memory": "stage two had no memory for this product",
    "stage_two_failed": "stage two failed on this product; its log says how",
}
