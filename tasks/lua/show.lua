-- One job. KEYS events, record
return view(KEYS[2])
