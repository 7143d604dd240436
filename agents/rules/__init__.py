"""Rule-based policies: placement and cooling rules that act on the same observations, through the same step."""
