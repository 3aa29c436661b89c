-- Addressed commands, learned stream parameters and object keys. Their tables come with the code that uses them.
SELECT 1;
