package phone

const MaxDiagnosed = maxDiagnosed
