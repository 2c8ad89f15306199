/* tollgate.fcgi - the worker. */
int main(void)
{
    return 0;
}
