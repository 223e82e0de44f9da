"""The three small languages of mlc: graph, kernel and plan. Imports nothing else of mlc but its errors."""
