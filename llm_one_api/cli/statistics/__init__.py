"""How `llm-one-api stats` looks: tables, sparklines, a heat map.

showing    what each page looks like
tables     its tables
marks      sparklines, bars, the heat map's cells
figures    how numbers, amounts and times are written
"""
