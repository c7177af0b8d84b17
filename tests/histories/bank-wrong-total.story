wrong total: it found 190 in bank instead of 200: {"a": 90, "b": 100}
  T1 = process 2 at gateway 3, audit, 15 – 35, ok: read a = 3; read b = 2; balances of bank: a 90, b 100
read skew (G-single): 2 transactions, each before the next, in a circle
  T1 = process 2 at gateway 3, audit, 15 – 35, ok: read a = 3; read b = 2; balances of bank: a 90, b 100
  T2 = process 1 at gateway 2, transfer, 10 – 30, ok: read a = 1; read b = 2; write a = 3; write b = 4
  T1 before T2: T1 read b = 2, before T2 wrote 4
  T2 before T1: T2 wrote a = 3, which T1 read
