"""The agent beside an Envoy without xDS: it taps it by `POST /tap`, and forwards what sessions want by StreamTaps."""
