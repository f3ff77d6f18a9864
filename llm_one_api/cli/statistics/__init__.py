"""How `llm-one-api stats` looks: tables, sparklines, a heat map.

showing    what each page looks like
moment     the present one
tables     its tables
fitting    as wide as the terminal
marks      sparklines, bars, the heat map's cells
figures    how numbers, amounts and times are written
"""
