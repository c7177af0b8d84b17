wrong total: it found 190 in bank instead of 200: {"checking/1": 90, "savings/1": 100}
  T1 = process 2 at gateway 3, audit, 15 – 35, ok: scan checking/ = {checking/1: 3}; scan savings/ = {savings/1: 2}; balances of bank: checking/1 90, savings/1 100
read skew (G-single): 2 transactions, each before the next, in a circle
  T1 = process 2 at gateway 3, audit, 15 – 35, ok: scan checking/ = {checking/1: 3}; scan savings/ = {savings/1: 2}; balances of bank: checking/1 90, savings/1 100
  T2 = process 1 at gateway 2, transfer, 10 – 30, ok: read checking/1 = 1; read savings/1 = 2; write checking/1 = 3; write savings/1 = 4
  T1 before T2: T1 read savings/1 = 2, before T2 wrote 4
  T2 before T1: T2 wrote checking/1 = 3, which T1 read
