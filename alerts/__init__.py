"""From incidents to messages people act on: decides, renders, sends, records."""
