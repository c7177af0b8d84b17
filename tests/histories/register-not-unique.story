values not unique: both write 1 to x
  T1 = process 0 at gateway 1, 10 – 20, ok: write x = 1
  T2 = process 1 at gateway 2, 30 – 40, ok: write x = 1
